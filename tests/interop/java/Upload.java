import io.tus.java.client.TusClient;
import io.tus.java.client.TusExecutor;
import io.tus.java.client.TusURLStore;
import io.tus.java.client.TusUpload;
import io.tus.java.client.TusUploader;
import java.io.File;
import java.io.IOException;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;

/**
 * Uploads one file with tus-java-client, as its README does, and tells in JSON lines what happens.
 * Arguments are {@code name=value}: endpoint, file, store (a file that keeps addresses), payload
 * (bytes of one request), {@code metadata.NAME} and {@code header.NAME}.
 */
public class Upload {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> given = new HashMap<>();
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            given.put(argument.substring(0, at), argument.substring(at + 1));
        }
        TusClient client = new TusClient();
        client.setUploadCreationURL(new URL(given.get("endpoint")));
        client.setHeaders(under("header.", given));
        client.enableResuming(new FileStore(Path.of(given.get("store"))));
        TusUpload upload = new TusUpload(new File(given.get("file")));
        upload.setMetadata(under("metadata.", given));

        TusExecutor executor = new TusExecutor() {
            @Override
            protected void makeAttempt() throws io.tus.java.client.ProtocolException, IOException {
                TusUploader uploader = client.resumeOrCreateUpload(upload);
                tell("created", "uploadUrl", uploader.getUploadURL().toString());
                uploader.setChunkSize(64 * 1024);
                if (given.containsKey("payload")) {
                    uploader.setRequestPayloadSize(Integer.parseInt(given.get("payload")));
                }
                do {
                    tell("progress", "sent", uploader.getOffset());
                } while (uploader.uploadChunk() > -1);
                uploader.finish();
                tell("success", "uploadUrl", uploader.getUploadURL().toString());
            }
        };
        try {
            if (!executor.makeAttempts()) {
                throw new IOException("interrupted");
            }
        } catch (io.tus.java.client.ProtocolException | IOException error) {
            tell("error", "message", String.valueOf(error));
            System.exit(1);
        }
    }

    private static Map<String, String> under(String prefix, Map<String, String> given) {
        Map<String, String> found = new HashMap<>();
        given.forEach((name, value) -> {
            if (name.startsWith(prefix)) {
                found.put(name.substring(prefix.length()), value);
            }
        });
        return found;
    }

    private static void tell(String event, String name, Object value) {
        String text = value instanceof String string
                ? '"' + string.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + '"'
                : String.valueOf(value);
        System.out.println("{\"event\": \"" + event + "\", \"" + name + "\": " + text + "}");
    }

    /** The addresses of uploads in a file; the library leaves keeping them to the application. */
    private record FileStore(Path file) implements TusURLStore {
        @Override
        public void set(String fingerprint, URL url) {
            Properties kept = load();
            kept.setProperty(fingerprint, url.toString());
            save(kept);
        }

        @Override
        public URL get(String fingerprint) {
            String url = load().getProperty(fingerprint);
            try {
                return url == null ? null : new URL(url);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        @Override
        public void remove(String fingerprint) {
            Properties kept = load();
            kept.remove(fingerprint);
            save(kept);
        }

        private Properties load() {
            Properties kept = new Properties();
            if (Files.exists(file)) {
                try (Reader reader = Files.newBufferedReader(file)) {
                    kept.load(reader);
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            }
            return kept;
        }

        private void save(Properties kept) {
            try (Writer writer = Files.newBufferedWriter(file)) {
                kept.store(writer, null);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }
}
