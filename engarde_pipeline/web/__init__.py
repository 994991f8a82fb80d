"""The pages for people: what the API serves at `/`, rendered on the server, to those who log in."""
