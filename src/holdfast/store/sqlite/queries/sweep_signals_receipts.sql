-- Delete the receipts of signals for all. Rows: tenant, id of the signal. Access: the primary key.
delete from holdfast_receipts where shard = 0 and signal_id in (select value ->> 1 from json_each(:rows))
