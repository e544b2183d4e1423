"""The client's side of a hand-over: files fetched and sent over HTTP, resumed wherever they break off.

For machines that share nothing with the home: no database, no storage, no Prefect. Start at `download` and `upload`;
`worker_home` is a worker's folder, with its key, and `session` proves to the gateway who the worker is.
"""

from blocks.hand_over.download import Downloaded, download
from blocks.hand_over.own_thread import RenewToken
from blocks.hand_over.upload import Declared, Uploaded, upload

__all__ = ["Declared", "Downloaded", "RenewToken", "Uploaded", "download", "upload"]
