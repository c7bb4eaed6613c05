-- Tell who is about to keep a signal for all that waits for these names are being opened: see signal_gate.
-- Index: primary key. Returns: nothing of use.
select count(pg_advisory_xact_lock_shared(hashtextextended(f.signal, hashtextextended(f.tenant, 0))))
  from (select distinct w.tenant, w.signal
          from json_to_recordset(%(waits)s::json) as l (id uuid, key text, kind text)
         cross join lateral (
               select o.tenant, o.signal
                 from holdfast.waits o
                where o.shard = %(shard)s::smallint and o.run_id = l.id and o.key = l.key
                limit 1) w
         where l.kind = 'signal') f
