"""The processes that `waybill up` starts, and the protocol between them and their parent."""
