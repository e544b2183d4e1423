"""One attempt to send one webhook: check the address, connect, sign, send, read a bounded answer.

`client.EndpointClient` is the way in, and the only class that other packages need besides `address.AddressGuard`. Below
it, `transport` and `connection` connect to checked addresses only, `networks` has the lists of refused ones, and
`host_lookup` asks DNS; `answer` reads what the receiver sends back. Refuses to follow redirects, to
keep cookies and to decompress answers. Decides nothing about retries: `blocks.webhooks.dispatch.retry_policy` does.
"""
