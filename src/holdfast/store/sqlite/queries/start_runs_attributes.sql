-- Make new runs findable by their attributes. Rows: tenant, name, value, run id. Access: the primary key.
insert into attributes (shard, tenant, name, value, run_id)
select 0, b.value ->> 0, b.value ->> 1, b.value ->> 2, b.value ->> 3
from json_each(:rows) as b
where true
on conflict do nothing
