-- Wait until all who open waits for this name have committed, before a signal is kept for all: who opens one later
-- sees the signal, and who opened one before is seen by it. Held until the commit.
-- Returns: nothing of use.
select pg_advisory_xact_lock(hashtextextended(%(name)s, hashtextextended(%(tenant)s, 0)))
