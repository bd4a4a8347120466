"""Events: a stream of all changes that consumers follow, in the form of Nomad's event stream."""
