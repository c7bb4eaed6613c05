-- Hold the first run of a lineage, of which another attempt begins: who deletes runs of it waits, and finds it living.
-- Index: primary key. Returns: a row if it is there.
select r.id
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = %(root_id)s::uuid
   for key share of r
