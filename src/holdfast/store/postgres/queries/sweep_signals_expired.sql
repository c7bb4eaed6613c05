-- Delete signals that have expired, and the receipts of those for all.
-- Guard: expired, not under way. Index: signals_expiring, primary keys. Returns: one row, how many signals.
with old as materialized (
    select s.shard, s.tenant, s.id
      from holdfast.signals s
     where s.shard = %(shard)s::smallint and s.expires_ms <= holdfast.now_ms(%(now_ms)s) and s.passed is null
     order by s.expires_ms
     limit %(limit)s
       for update skip locked
), receipts_gone as (
    delete from holdfast.receipts c
     using (select m.* from (select o.* from old o limit (select 1000000000)) m limit (select 1000000000)) o
     where c.shard = o.shard and c.signal_id = o.id
), gone as (
    delete from holdfast.signals s
     using (select m.* from (select o.* from old o limit (select 1000000000)) m limit (select 1000000000)) o
     where s.shard = o.shard and s.tenant = o.tenant and s.id = o.id
    returning 1
)
select count(*) from gone
