import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/** The scenarios, with the HttpClient of Java, which offers HTTP/2 with each request. See plan.py. */
public class WithJava {
  private static final HttpClient CLIENT = HttpClient.newHttpClient();

  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]);
    List<String> lines = Files.readAllLines(folder.resolve("plan.tsv"));
    for (int server = 1; server < arguments.length; server++) {
      for (int number = 0; number < lines.size(); number++) {
        String[] step = lines.get(number).split("\t");
        Path body = folder.resolve(number + ".json");
        play(arguments[server], step[0], step[1], step[2], body);
      }
    }
  }

  private static void play(String url, String name, String path, String act, Path body) throws Exception {
    HttpRequest request = HttpRequest.newBuilder(URI.create(url + path))
        .header("content-type", "application/json")
        .timeout(Duration.ofMillis(act.equals("give up") ? 300 : 60_000))
        .POST(HttpRequest.BodyPublishers.ofFile(body))
        .build();
    int status = 0;
    String text = "";
    try {
      HttpResponse<InputStream> answer = CLIENT.send(request, HttpResponse.BodyHandlers.ofInputStream());
      status = answer.statusCode();
      try (InputStream stream = answer.body()) {
        text = read(stream, act);
      }
    } catch (HttpTimeoutException gaveUp) {
      status = 0;
    }
    System.out.println("{\"server\": " + quoted(url) + ", \"scenario\": " + quoted(name)
        + ", \"status\": " + status + ", \"body\": " + quoted(text) + "}");
  }

  private static String read(InputStream stream, String act) throws IOException, InterruptedException {
    byte[] part = new byte[65536];
    java.io.ByteArrayOutputStream all = new java.io.ByteArrayOutputStream();
    for (int parts = 1, length; (length = stream.read(part)) >= 0; parts++) {
      all.write(part, 0, length);
      if (act.equals("leave")) {
        break;
      }
      if (act.equals("read slowly") && parts <= 5) {
        Thread.sleep(50);
      }
    }
    return all.toString(StandardCharsets.UTF_8);
  }

  private static String quoted(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char character : text.toCharArray()) {
      if (character == '"' || character == '\\' || character < ' ' || character > '~') {
        quoted.append(String.format("\\u%04x", (int) character));
      } else {
        quoted.append(character);
      }
    }
    return quoted.append('"').toString();
  }
}
