"""Programs that upload with a real client library, each run in a process of its own."""
