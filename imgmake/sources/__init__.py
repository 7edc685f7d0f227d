"""What is on disk: files, patterns and git, behind the ports; nothing here knows rules, images or the drive."""
