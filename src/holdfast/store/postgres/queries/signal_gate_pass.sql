-- Wait until all who were opening waits for this name have committed, before a signal is offered that others accepted:
-- who opens one later sees the signal. Not held: who holds it may have to wait for runs that this transaction will lock.
-- Returns: nothing of use.
select pg_advisory_lock(f.gate), pg_advisory_unlock(f.gate)
  from (select hashtextextended(%(name)s, hashtextextended(%(tenant)s, 0)) as gate offset 0) f
