-- Tell other processes. A transaction with a notification commits like any other; this one need not wait for the disk.
-- Returns: nothing of use.
select set_config('synchronous_commit', 'off', true), pg_notify('holdfast', %(payload)s)
