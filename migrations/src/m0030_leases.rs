pub(crate) const NAME: &str = "m0030_leases";
pub(crate) const DESCRIPTION: &str = "a lease says for how long it was given; its owner's signs of life keep it";

// Heartbeats had moved the ends of leases on; what is left running is told apart from the dead after 30 seconds again.
pub(crate) const UP: &str = "
UPDATE task_instance SET lease_expires_at = queued_at + 30000000 WHERE lease_owner IS NOT NULL AND queued_at IS NOT NULL;
";

// The next heartbeat of an older program extends what it holds.
pub(crate) const DOWN: &str = "";
