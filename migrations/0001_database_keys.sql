CREATE TABLE `database_keys` (
	`name` text NOT NULL,
	`key` text NOT NULL,
	PRIMARY KEY(`name`, `key`)
) WITHOUT ROWID;
--> statement-breakpoint
CREATE INDEX `database_keys_by_key` ON `database_keys` (`key`,`name`);
--> statement-breakpoint
-- The keys that a configuration names: the name of a secret, an address, or the public part of each key of a set.
-- src/auth/databases.ts computes the same for a configuration that is not stored yet.
CREATE TRIGGER `database_keys_insert` AFTER INSERT ON `databases` BEGIN
	INSERT OR IGNORE INTO `database_keys` (`name`, `key`)
	SELECT new.name, `key` FROM (
		SELECT 'secret:' || (new.config ->> 'secret') AS `key`
		UNION ALL SELECT 'url:' || lower(new.config ->> 'jwks_url')
		UNION ALL SELECT 'key:' || coalesce(value ->> 'n', value ->> 'x') FROM json_each(new.config, '$.jwks.keys')
	) WHERE `key` IS NOT NULL;
END;
--> statement-breakpoint
CREATE TRIGGER `database_keys_update` AFTER UPDATE OF `name`, `config` ON `databases` BEGIN
	DELETE FROM `database_keys` WHERE `name` = old.name;
	INSERT OR IGNORE INTO `database_keys` (`name`, `key`)
	SELECT new.name, `key` FROM (
		SELECT 'secret:' || (new.config ->> 'secret') AS `key`
		UNION ALL SELECT 'url:' || lower(new.config ->> 'jwks_url')
		UNION ALL SELECT 'key:' || coalesce(value ->> 'n', value ->> 'x') FROM json_each(new.config, '$.jwks.keys')
	) WHERE `key` IS NOT NULL;
END;
--> statement-breakpoint
CREATE TRIGGER `database_keys_delete` AFTER DELETE ON `databases` BEGIN
	DELETE FROM `database_keys` WHERE `name` = old.name;
END;
--> statement-breakpoint
-- What was stored before: the trigger sees it again.
UPDATE `databases` SET `config` = `config`;
