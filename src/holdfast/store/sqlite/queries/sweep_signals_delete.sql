-- Delete signals. Rows: tenant, id. Access: the primary key. Counts them.
delete from holdfast_signals where rowid in (
    select s.rowid from json_each(:rows) as b
    cross join holdfast_signals as s on s.shard = 0 and s.tenant = b.value ->> 0 and s.id = b.value ->> 1)
