package shop;

import static org.junit.Assert.assertEquals;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;

public class ShopTest {
    private HttpServer server;

    @Before
    public void open() throws IOException {
        server = Shop.open(0);
    }

    @After
    public void close() {
        server.stop(0);
    }

    @Test
    public void healthIsUp() throws Exception {
        URI health = URI.create("http://localhost:" + server.getAddress().getPort() + "/health");
        HttpResponse<String> response =
                HttpClient.newHttpClient().send(HttpRequest.newBuilder(health).build(), BodyHandlers.ofString());
        assertEquals(200, response.statusCode());
        assertEquals("{\"status\": \"UP\"}\n", response.body());
    }
}
