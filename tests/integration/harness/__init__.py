"""What the integration tests are made of: the balancer as a process, backends, clients, servers of other people."""
