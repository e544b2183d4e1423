"""The page for people: what a browser sees at the gateway's root, rendered on the server.

A person signs in with an API key; the browser keeps a signed session in a cookie, never the key. The page promises that
it works without script (progress is then shown after a reload), that nothing comes from elsewhere, and that what a
document or a file name holds is text. The paths of the API never take the cookie. Start reading at `sessions`, then
`visitors` (who may see what), `rendering`, and `routes/`, one module a subject.
"""
