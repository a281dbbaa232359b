drop trigger check_names on public.llm_prices;
drop trigger check_names on public.ingest_uploads;
drop trigger check_names on public.api_integrations;
drop trigger check_names on public.aws_accounts;
drop trigger check_names on public.job_limits;
drop trigger check_names on public.pauses;
drop trigger check_names on public.schedules;
drop trigger check_names on public.tenant_schedules;
drop trigger check_names on public.job_types;
drop trigger check_names on public.plans;
drop trigger check_names on public.tenants;
drop function purser.check_names();
drop function purser.group_fault(text);
drop function purser.name_fault(text, text);
drop function purser.quoted_name(text);
alter table public.llm_prices add constraint llm_prices_model_check check (length(model) between 1 and 200);
alter table public.ingest_uploads add constraint ingest_uploads_source_check
  check (length(source) between 1 and 200 and source !~ '[[:cntrl:]]');
alter table public.schedules add constraint schedules_cohort_check
  check (cohort in ('high_value', 'active', 'dormant'));
alter table public.job_types add constraint job_types_job_type_check check (job_type ~ '^[a-z][a-z0-9_]{0,62}$');
alter table public.tenants
  add constraint tenants_id_check check (length(id) between 1 and 200 and id !~ '[[:cntrl:]]'),
  add constraint id_is_visible check (purser.tenant_form(id) <> '');
