package shop;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** A shop window: one page, and a health check for whoever runs it. */
public final class Shop {
    static final int PORT = 8080;

    private Shop() {}

    /** Starts the shop; port 0 takes any free one. */
    static HttpServer open(int port) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
        server.createContext("/", exchange -> answer(exchange, "text/plain", "Apples, pears and quinces.\n"));
        server.createContext("/health", exchange -> answer(exchange, "application/json", "{\"status\": \"UP\"}\n"));
        server.start();
        return server;
    }

    private static void answer(HttpExchange exchange, String type, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", type + "; charset=utf-8");
        exchange.sendResponseHeaders(200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = open(PORT);
        System.out.println("The shop is open on port " + server.getAddress().getPort());
    }
}
