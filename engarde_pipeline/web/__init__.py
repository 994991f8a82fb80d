"""The page for people: what the API serves at `/`, rendered on the server, for those who log in with a browser."""
