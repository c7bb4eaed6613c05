-- Tell all processes, this one too, when the caller's transaction commits.
-- Returns: nothing of use.
select pg_notify('holdfast', %(payload)s)
