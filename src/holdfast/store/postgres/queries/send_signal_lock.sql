-- Lock the run that a signal is for: it can neither park nor end nor open a wait until the commit.
-- Index: primary key. Returns: its status, its chain, and as which run it continued; or no row if there is no such run
-- or it is another tenant's.
select r.status, r.chain_id, r.continued_as_id
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.tenant is not distinct from %(tenant)s
   for no key update of r
