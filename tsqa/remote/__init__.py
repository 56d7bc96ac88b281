"""Data on other hosts: objects of S3 and Google Cloud Storage, files of web servers and of the hub.

Guarantees: an object is read in parts and never kept on this disk; it is known by its version, so
that one that changed is refused; credentials come from the environment and stand in no address.
"""

from tsqa.remote.paths import DataPath, RemotePath, data_path, place_below
from tsqa.remote.state import RemoteState

__all__ = ["DataPath", "RemotePath", "RemoteState", "data_path", "place_below"]
