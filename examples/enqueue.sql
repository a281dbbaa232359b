-- From any language that speaks SQL, in your own transaction:
--   psql "$DATABASE_URL" -v tenant=acme -f examples/enqueue.sql
begin;
select job_id, created from purser.enqueue(:'tenant', 'finops_analysis', '{"periodDays": 30}', 'example by sql');
commit;
