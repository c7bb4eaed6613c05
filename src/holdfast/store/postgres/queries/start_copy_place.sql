-- Whether a lineage has this attempt already. The index runs_attempt keeps two from taking it at once.
-- Index: runs_attempt. Returns: a row if it has.
select r.id
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.root_id = %(root_id)s::uuid and r.attempt = %(attempt)s::integer
   and r.retry_of_id is not null
