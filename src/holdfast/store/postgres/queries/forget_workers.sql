-- Delete the rows of workers that hold no run and whose lease ran out long ago.
-- Guard: the lease as it is then; a worker that registers meanwhile stays. Index: runs_held for each of these workers.
-- Returns: nothing.
delete from holdfast.workers w
 where w.lease_until_ms < holdfast.now_ms(%(now_ms)s) - %(kept_ms)s::bigint
   and (select r.id from holdfast.runs r where r.shard = %(shard)s::smallint and r.worker = w.id limit 1) is null
