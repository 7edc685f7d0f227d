"""From a Makefile to a Pipefile: GNU make says what it means, a reader keeps what make throws away."""
