-- Note with waits why their filter failed. Rows: run id, key, note. Guard: open. Index: primary key. Returns: nothing.
update holdfast.waits w
   set note = l.note
  from (select m.*, %(shard)s::smallint as shard
          from (select j.* from json_to_recordset(%(notes)s::json) as j (id uuid, key text, note text)
                 limit (select 1000000000)) m
         limit (select 1000000000)) l
 where w.shard = l.shard and w.run_id = l.id and w.key = l.key and coalesce(w.outcome, '') = ''
