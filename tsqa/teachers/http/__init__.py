"""HTTP to endpoints, of which the engine is built: one server, and the file that lists servers."""
