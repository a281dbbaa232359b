select purser.disallow_tenant('purser.complete_attempt(jsonb)');
drop function purser.complete_attempt(jsonb);
