-- SPDX-License-Identifier: Apache-2.0
-- Copyright (c) 2026, Patchherd contributors
CREATE TABLE "user" ("id" INTEGER NOT NULL PRIMARY KEY, "uuid" VARCHAR(36) NOT NULL, "username" VARCHAR(64) NOT NULL, "first_name" VARCHAR(100) NOT NULL, "last_name" VARCHAR(100) NOT NULL, "email" VARCHAR(254), "role" VARCHAR(16) NOT NULL, "password_hash" VARCHAR(60) NOT NULL, "is_active" INTEGER NOT NULL, "created_at" INTEGER NOT NULL, "updated_at" INTEGER NOT NULL, "last_login_at" INTEGER)
;
CREATE UNIQUE INDEX "user_uuid" ON "user" ("uuid")
;
CREATE UNIQUE INDEX "user_username" ON "user" ("username")
;
CREATE TABLE "api_token" ("id" INTEGER NOT NULL PRIMARY KEY, "uuid" VARCHAR(36) NOT NULL, "name" VARCHAR(255) NOT NULL, "token_id" VARCHAR(32) NOT NULL, "secret_hash" VARCHAR(64) NOT NULL, "permissions" TEXT NOT NULL, "created_by_id" INTEGER, "created_at" INTEGER NOT NULL, "expires_at" INTEGER, "revoked_at" INTEGER, "last_used_at" INTEGER, FOREIGN KEY ("created_by_id") REFERENCES "user" ("id") ON DELETE SET NULL)
;
CREATE UNIQUE INDEX "api_token_uuid" ON "api_token" ("uuid")
;
CREATE UNIQUE INDEX "api_token_token_id" ON "api_token" ("token_id")
;
CREATE INDEX "api_token_created_by_id" ON "api_token" ("created_by_id")
;
CREATE TABLE "audit_entry" ("id" INTEGER NOT NULL PRIMARY KEY, "at" INTEGER NOT NULL, "actor_kind" VARCHAR(16) NOT NULL, "actor_id" INTEGER, "actor_name" VARCHAR(255) NOT NULL, "address" VARCHAR(64), "action" VARCHAR(64) NOT NULL, "object_kind" VARCHAR(32) NOT NULL, "object_id" VARCHAR(64), "object_name" VARCHAR(255), "before" TEXT, "after" TEXT, "seal" VARCHAR(64) NOT NULL)
;
CREATE INDEX "audit_entry_at" ON "audit_entry" ("at")
;
CREATE INDEX "audit_entry_action" ON "audit_entry" ("action")
;
CREATE INDEX "audit_entry_object_kind_object_id" ON "audit_entry" ("object_kind", "object_id")
;
CREATE TABLE "device" ("id" INTEGER NOT NULL PRIMARY KEY, "uuid" VARCHAR(36) NOT NULL, "friendly_name" VARCHAR(255) NOT NULL, "notes" TEXT NOT NULL, "enrolment_metadata" TEXT NOT NULL, "created_at" INTEGER NOT NULL, "updated_at" INTEGER NOT NULL, "deleted_at" INTEGER, "approved" INTEGER NOT NULL, "machine_id" VARCHAR(255), "hostname" VARCHAR(255), "ip_address" VARCHAR(64), "os_family" VARCHAR(16), "os_id" VARCHAR(64), "os_name" VARCHAR(255), "os_version" VARCHAR(255), "os_version_id" VARCHAR(64), "os_architecture" VARCHAR(32), "agent_version" VARCHAR(64), "kernel_running" VARCHAR(255), "kernel_installed" VARCHAR(255), "boot_id" VARCHAR(64), "reboot_required" INTEGER, "reboot_reason" TEXT, "facts" TEXT NOT NULL, "last_heartbeat" INTEGER, "last_report" INTEGER, "ssh_host_keys" TEXT NOT NULL, "reported_host_keys" TEXT NOT NULL, "connection" VARCHAR(16), "address" VARCHAR(255), "port" INTEGER, "remote_user" VARCHAR(64), "become" INTEGER, "shell" VARCHAR(16), "python" VARCHAR(255), "patch_status" VARCHAR(16) NOT NULL, "patch_reason" TEXT, "missing" INTEGER, "missing_security" INTEGER, "metadata_updated" INTEGER, "evaluated_at" INTEGER)
;
CREATE UNIQUE INDEX "device_uuid" ON "device" ("uuid")
;
CREATE INDEX "device_deleted_at" ON "device" ("deleted_at")
;
CREATE INDEX "device_machine_id" ON "device" ("machine_id")
;
CREATE INDEX "device_hostname" ON "device" ("hostname")
;
CREATE INDEX "device_ip_address" ON "device" ("ip_address")
;
CREATE INDEX "device_last_heartbeat" ON "device" ("last_heartbeat")
;
CREATE INDEX "device_patch_status" ON "device" ("patch_status")
;
CREATE TABLE "host_credential" ("id" INTEGER NOT NULL PRIMARY KEY, "device_id" INTEGER NOT NULL, "api_id" VARCHAR(40) NOT NULL, "key_hash" VARCHAR(60) NOT NULL, "created_at" INTEGER NOT NULL, "accepted_hashes" TEXT NOT NULL, "offered_hashes" TEXT NOT NULL, FOREIGN KEY ("device_id") REFERENCES "device" ("id") ON DELETE CASCADE)
;
CREATE UNIQUE INDEX "host_credential_device_id" ON "host_credential" ("device_id")
;
CREATE UNIQUE INDEX "host_credential_api_id" ON "host_credential" ("api_id")
;
CREATE TABLE "bootstrap_token" ("id" INTEGER NOT NULL PRIMARY KEY, "token_hash" VARCHAR(64) NOT NULL, "credential_id" INTEGER NOT NULL, "sealed_key" TEXT NOT NULL, "expires_at" INTEGER NOT NULL, "used_at" INTEGER, FOREIGN KEY ("credential_id") REFERENCES "host_credential" ("id") ON DELETE CASCADE)
;
CREATE UNIQUE INDEX "bootstrap_token_token_hash" ON "bootstrap_token" ("token_hash")
;
CREATE INDEX "bootstrap_token_credential_id" ON "bootstrap_token" ("credential_id")
;
CREATE INDEX "bootstrap_token_expires_at" ON "bootstrap_token" ("expires_at")
;
CREATE TABLE "deployment" ("id" INTEGER NOT NULL PRIMARY KEY, "uuid" VARCHAR(36) NOT NULL, "kind" VARCHAR(16) NOT NULL, "state" VARCHAR(16) NOT NULL, "filter" VARCHAR(16) NOT NULL, "packages" TEXT NOT NULL, "dry_run" INTEGER NOT NULL, "reboot" VARCHAR(16) NOT NULL, "plan_digest" VARCHAR(64) NOT NULL, "created_by" VARCHAR(255) NOT NULL, "created_at" INTEGER NOT NULL, "started_at" INTEGER, "finished_at" INTEGER, "cancel_requested" INTEGER NOT NULL, "message" TEXT NOT NULL)
;
CREATE UNIQUE INDEX "deployment_uuid" ON "deployment" ("uuid")
;
CREATE INDEX "deployment_state" ON "deployment" ("state")
;
CREATE TABLE "deployment_host" ("id" INTEGER NOT NULL PRIMARY KEY, "deployment_id" INTEGER NOT NULL, "device_id" INTEGER NOT NULL, "name" VARCHAR(255) NOT NULL, "state" VARCHAR(16) NOT NULL, "message" TEXT NOT NULL, "attempts" INTEGER NOT NULL, "reboot_required" INTEGER, "boot_id_before" VARCHAR(64), "rebooted" INTEGER NOT NULL, "package_set_before" INTEGER, "started_at" INTEGER, "finished_at" INTEGER, FOREIGN KEY ("deployment_id") REFERENCES "deployment" ("id") ON DELETE CASCADE, FOREIGN KEY ("device_id") REFERENCES "device" ("id") ON DELETE CASCADE)
;
CREATE INDEX "deployment_host_deployment_id" ON "deployment_host" ("deployment_id")
;
CREATE INDEX "deployment_host_device_id" ON "deployment_host" ("device_id")
;
CREATE UNIQUE INDEX "deployment_host_deployment_id_device_id" ON "deployment_host" ("deployment_id", "device_id")
;
CREATE INDEX "deployment_host_deployment_id_state" ON "deployment_host" ("deployment_id", "state")
;
CREATE TABLE "deployment_change" ("id" INTEGER NOT NULL PRIMARY KEY, "host_id" INTEGER NOT NULL, "package" VARCHAR(512) NOT NULL, "architecture" VARCHAR(32), "kb" VARCHAR(32), "installed" VARCHAR(255), "candidate" VARCHAR(255), "severity" VARCHAR(16), "security" INTEGER NOT NULL, "advisories" TEXT NOT NULL, "planned" INTEGER NOT NULL, "result" VARCHAR(16) NOT NULL, "message" TEXT NOT NULL, FOREIGN KEY ("host_id") REFERENCES "deployment_host" ("id") ON DELETE CASCADE)
;
CREATE INDEX "deployment_change_host_id" ON "deployment_change" ("host_id")
;
CREATE TABLE "device_group" ("id" INTEGER NOT NULL PRIMARY KEY, "uuid" VARCHAR(36) NOT NULL, "name" VARCHAR(255) NOT NULL, "description" TEXT NOT NULL, "color" VARCHAR(16) NOT NULL, "created_at" INTEGER NOT NULL)
;
CREATE UNIQUE INDEX "device_group_uuid" ON "device_group" ("uuid")
;
CREATE UNIQUE INDEX "device_group_name" ON "device_group" ("name")
;
CREATE TABLE "package_set" ("id" INTEGER NOT NULL PRIMARY KEY, "digest" BLOB NOT NULL, "ecosystem" VARCHAR(16) NOT NULL, "size" INTEGER NOT NULL, "members" BLOB NOT NULL, "released_at" INTEGER)
;
CREATE UNIQUE INDEX "package_set_digest" ON "package_set" ("digest")
;
CREATE TABLE "device_packages" ("device_id" INTEGER NOT NULL PRIMARY KEY, "package_set_id" INTEGER NOT NULL, "fingerprint" BLOB NOT NULL, "reported" INTEGER NOT NULL, FOREIGN KEY ("device_id") REFERENCES "device" ("id") ON DELETE CASCADE, FOREIGN KEY ("package_set_id") REFERENCES "package_set" ("id") ON DELETE RESTRICT)
;
CREATE INDEX "device_packages_package_set_id" ON "device_packages" ("package_set_id")
;
CREATE TABLE "enrollment_token" ("id" INTEGER NOT NULL PRIMARY KEY, "uuid" VARCHAR(36) NOT NULL, "token_name" VARCHAR(255) NOT NULL, "token_key" VARCHAR(64) NOT NULL, "secret_hash" VARCHAR(60) NOT NULL, "is_active" INTEGER NOT NULL, "max_hosts_per_day" INTEGER NOT NULL, "default_group_id" INTEGER, "allowed_ip_ranges" TEXT NOT NULL, "expires_at" INTEGER, "metadata" TEXT NOT NULL, "scopes" TEXT, "created_by_id" INTEGER, "created_at" INTEGER NOT NULL, "updated_at" INTEGER NOT NULL, "last_used_at" INTEGER, "quota_day" INTEGER NOT NULL, "hosts_created" INTEGER NOT NULL, FOREIGN KEY ("default_group_id") REFERENCES "device_group" ("id") ON DELETE SET NULL, FOREIGN KEY ("created_by_id") REFERENCES "user" ("id") ON DELETE SET NULL)
;
CREATE UNIQUE INDEX "enrollment_token_uuid" ON "enrollment_token" ("uuid")
;
CREATE UNIQUE INDEX "enrollment_token_token_key" ON "enrollment_token" ("token_key")
;
CREATE INDEX "enrollment_token_default_group_id" ON "enrollment_token" ("default_group_id")
;
CREATE INDEX "enrollment_token_created_by_id" ON "enrollment_token" ("created_by_id")
;
CREATE TABLE "group_member" ("group_id" INTEGER NOT NULL, "device_id" INTEGER NOT NULL, PRIMARY KEY ("group_id", "device_id"), FOREIGN KEY ("group_id") REFERENCES "device_group" ("id") ON DELETE CASCADE, FOREIGN KEY ("device_id") REFERENCES "device" ("id") ON DELETE CASCADE)
;
CREATE INDEX "group_member_group_id" ON "group_member" ("group_id")
;
CREATE INDEX "group_member_device_id" ON "group_member" ("device_id")
;
CREATE TABLE "job" ("id" INTEGER NOT NULL PRIMARY KEY, "deployment_id" INTEGER NOT NULL, "state" VARCHAR(16) NOT NULL, "attempt" INTEGER NOT NULL, "lease_owner" VARCHAR(128), "lease_expires" INTEGER, "created_at" INTEGER NOT NULL, "started_at" INTEGER, "finished_at" INTEGER, "message" TEXT NOT NULL, "events" INTEGER NOT NULL, FOREIGN KEY ("deployment_id") REFERENCES "deployment" ("id") ON DELETE CASCADE)
;
CREATE INDEX "job_deployment_id" ON "job" ("deployment_id")
;
CREATE INDEX "job_state" ON "job" ("state")
;
CREATE TABLE "job_event" ("id" INTEGER NOT NULL PRIMARY KEY, "job_id" INTEGER NOT NULL, "deployment_id" INTEGER NOT NULL, "counter" INTEGER NOT NULL, "created_at" INTEGER NOT NULL, "event" VARCHAR(64) NOT NULL, "host" VARCHAR(255), "task" VARCHAR(255), "changed" INTEGER NOT NULL, "message" TEXT NOT NULL, FOREIGN KEY ("job_id") REFERENCES "job" ("id") ON DELETE CASCADE)
;
CREATE INDEX "job_event_job_id" ON "job_event" ("job_id")
;
CREATE INDEX "job_event_deployment_id" ON "job_event" ("deployment_id")
;
CREATE UNIQUE INDEX "job_event_job_id_counter" ON "job_event" ("job_id", "counter")
;
CREATE TABLE "login_failure" ("id" INTEGER NOT NULL PRIMARY KEY, "username" VARCHAR(64) NOT NULL, "failures" INTEGER NOT NULL, "last_failure" INTEGER NOT NULL, "locked_until" INTEGER)
;
CREATE UNIQUE INDEX "login_failure_username" ON "login_failure" ("username")
;
CREATE INDEX "login_failure_last_failure" ON "login_failure" ("last_failure")
;
CREATE TABLE "login_session" ("id" INTEGER NOT NULL PRIMARY KEY, "key" VARCHAR(43) NOT NULL, "user_id" INTEGER NOT NULL, "created_at" INTEGER NOT NULL, "expires_at" INTEGER NOT NULL, FOREIGN KEY ("user_id") REFERENCES "user" ("id") ON DELETE CASCADE)
;
CREATE UNIQUE INDEX "login_session_key" ON "login_session" ("key")
;
CREATE INDEX "login_session_user_id" ON "login_session" ("user_id")
;
CREATE INDEX "login_session_expires_at" ON "login_session" ("expires_at")
;
CREATE TABLE "package_version" ("id" INTEGER NOT NULL PRIMARY KEY, "ecosystem" VARCHAR(16) NOT NULL, "name" VARCHAR(255) NOT NULL, "architecture" VARCHAR(32) NOT NULL, "version" VARCHAR(255) NOT NULL, "sort_key" BLOB NOT NULL)
;
CREATE UNIQUE INDEX "package_version_name_ecosystem_architecture_version" ON "package_version" ("name", "ecosystem", "architecture", "version")
;
CREATE TABLE "verdict" ("id" INTEGER NOT NULL PRIMARY KEY, "device_id" INTEGER NOT NULL, "ecosystem" VARCHAR(16) NOT NULL, "package" VARCHAR(255) NOT NULL, "architecture" VARCHAR(32) NOT NULL, "installed" VARCHAR(255), "candidate" VARCHAR(255), "verdict" VARCHAR(16) NOT NULL, "reason" TEXT, "severity" VARCHAR(16) NOT NULL, "severity_source" VARCHAR(64) NOT NULL, "security" INTEGER NOT NULL, "advisories" TEXT NOT NULL, "origin" VARCHAR(255), "kb" VARCHAR(32), "categories" TEXT NOT NULL, "reboot_suggested" INTEGER NOT NULL, "first_seen" INTEGER NOT NULL, FOREIGN KEY ("device_id") REFERENCES "device" ("id") ON DELETE CASCADE)
;
CREATE INDEX "verdict_device_id" ON "verdict" ("device_id")
;
CREATE INDEX "verdict_kb" ON "verdict" ("kb")
;
CREATE UNIQUE INDEX "verdict_device_id_package_architecture" ON "verdict" ("device_id", "package", "architecture")
;
CREATE INDEX "verdict_package_device_id" ON "verdict" ("package", "device_id")
