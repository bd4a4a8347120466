"""The store on etcd, which any number of servers share."""

from plugind.store.etcd.store import EtcdStore, plugind_stores

__all__ = ["EtcdStore", "plugind_stores"]
