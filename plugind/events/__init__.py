"""Events: what changes, as a stream that consumers follow, in the form of Nomad's event stream."""
