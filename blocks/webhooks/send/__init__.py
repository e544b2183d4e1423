"""Send one webhook: vet the address, connect to it, sign, send, read a bounded answer."""
