-- Answers to writes of the HTTP API by the key that their client chose, so that a repeated request acts once and is answered
-- as before. A row is written in the transaction of the act: there is no answer without its act. Keys, methods, paths and
-- bodies are hashes; an answer has ids, names and amounts, and no value of a payload.

create table purser.idempotency_keys (
  -- SHA-256 of the proof and the name of who asks, and of the key.
  key_hash bytea primary key check (octet_length(key_hash) = 32),
  -- SHA-256 of method, path and body.
  request_hash bytea not null check (octet_length(request_hash) = 32),
  -- Null only inside the transaction of the act.
  status smallint check (status between 200 and 299),
  answer jsonb,
  expires_at timestamptz not null,
  constraint answer_iff_status check ((status is null) = (answer is null))
);
create index ix_idempotency_keys_expires_at on purser.idempotency_keys (expires_at);

select purser.protect_table('purser.idempotency_keys', '');
