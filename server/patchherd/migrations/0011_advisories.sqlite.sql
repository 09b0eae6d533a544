-- SPDX-License-Identifier: Apache-2.0
-- Copyright (c) 2026, Patchherd contributors
CREATE TABLE "advisory_feed" ("id" INTEGER NOT NULL PRIMARY KEY, "name" VARCHAR(128) NOT NULL, "kind" VARCHAR(16) NOT NULL, "location" TEXT NOT NULL, "distribution" VARCHAR(64), "etag" TEXT, "last_modified" TEXT, "digest" BLOB, "cursor_digest" BLOB, "cursor" INTEGER NOT NULL, "state" VARCHAR(16) NOT NULL, "error" TEXT, "taken" INTEGER NOT NULL, "refused" INTEGER NOT NULL, "refusals" TEXT NOT NULL, "distributions" TEXT NOT NULL, "changes" INTEGER NOT NULL, "rating_due" INTEGER NOT NULL, "created_at" INTEGER NOT NULL, "requested_at" INTEGER, "last_checked" INTEGER, "completed_at" INTEGER)
;
CREATE UNIQUE INDEX "advisory_feed_name" ON "advisory_feed" ("name")
;
CREATE TABLE "advisory" ("id" INTEGER NOT NULL PRIMARY KEY, "source" VARCHAR(16) NOT NULL, "name" VARCHAR(128) NOT NULL, "type" VARCHAR(16) NOT NULL, "severity" VARCHAR(16), "severity_word" VARCHAR(64), "cvss" REAL, "title" VARCHAR(500) NOT NULL, "summary" TEXT NOT NULL, "published" INTEGER, "modified" INTEGER, "withdrawn_at" INTEGER, "url" TEXT, "reboot_suggested" INTEGER NOT NULL, "exploited" INTEGER NOT NULL, "rank" INTEGER NOT NULL)
;
CREATE INDEX "advisory_rank" ON "advisory" ("rank")
;
CREATE UNIQUE INDEX "advisory_name_source" ON "advisory" ("name", "source")
;
CREATE TABLE "advisory_fragment" ("id" INTEGER NOT NULL PRIMARY KEY, "advisory_id" INTEGER NOT NULL, "feed_id" INTEGER NOT NULL, "part" VARCHAR(64) NOT NULL, "digest" BLOB NOT NULL, "header" TEXT NOT NULL, "gone_at" INTEGER, FOREIGN KEY ("advisory_id") REFERENCES "advisory" ("id") ON DELETE CASCADE, FOREIGN KEY ("feed_id") REFERENCES "advisory_feed" ("id") ON DELETE CASCADE)
;
CREATE INDEX "advisory_fragment_advisory_id" ON "advisory_fragment" ("advisory_id")
;
CREATE INDEX "advisory_fragment_feed_id" ON "advisory_fragment" ("feed_id")
;
CREATE UNIQUE INDEX "advisory_fragment_feed_id_advisory_id_part" ON "advisory_fragment" ("feed_id", "advisory_id", "part")
;
CREATE TABLE "advisory_cve" ("id" INTEGER NOT NULL PRIMARY KEY, "fragment_id" INTEGER NOT NULL, "advisory_id" INTEGER NOT NULL, "cve" VARCHAR(128) NOT NULL, "severity" VARCHAR(16), "cvss" REAL, "description" TEXT, FOREIGN KEY ("fragment_id") REFERENCES "advisory_fragment" ("id") ON DELETE CASCADE, FOREIGN KEY ("advisory_id") REFERENCES "advisory" ("id") ON DELETE CASCADE)
;
CREATE INDEX "advisory_cve_fragment_id" ON "advisory_cve" ("fragment_id")
;
CREATE INDEX "advisory_cve_advisory_id" ON "advisory_cve" ("advisory_id")
;
CREATE INDEX "advisory_cve_cve" ON "advisory_cve" ("cve")
;
CREATE TABLE "advisory_fix" ("id" INTEGER NOT NULL PRIMARY KEY, "fragment_id" INTEGER NOT NULL, "advisory_id" INTEGER NOT NULL, "ecosystem" VARCHAR(16) NOT NULL, "distribution" VARCHAR(64) NOT NULL, "package" VARCHAR(255) NOT NULL, "is_source" INTEGER NOT NULL, "architecture" VARCHAR(32), "introduced" VARCHAR(255), "fixed" VARCHAR(255), "sort_key" BLOB, "module" VARCHAR(255), "repository" VARCHAR(255), "product" VARCHAR(255), "kb" VARCHAR(32), "supersedes" TEXT NOT NULL, FOREIGN KEY ("fragment_id") REFERENCES "advisory_fragment" ("id") ON DELETE CASCADE, FOREIGN KEY ("advisory_id") REFERENCES "advisory" ("id") ON DELETE CASCADE)
;
CREATE INDEX "advisory_fix_fragment_id" ON "advisory_fix" ("fragment_id")
;
CREATE INDEX "advisory_fix_advisory_id" ON "advisory_fix" ("advisory_id")
;
CREATE INDEX "advisory_fix_kb" ON "advisory_fix" ("kb")
;
CREATE INDEX "advisory_fix_package_distribution" ON "advisory_fix" ("package", "distribution")
;
CREATE TABLE "known_exploited" ("cve" VARCHAR(128) NOT NULL PRIMARY KEY, "feed_id" INTEGER NOT NULL, "added" INTEGER, "due" INTEGER, "ransomware" INTEGER, "title" VARCHAR(500) NOT NULL, "description" TEXT NOT NULL, FOREIGN KEY ("feed_id") REFERENCES "advisory_feed" ("id") ON DELETE CASCADE)
;
CREATE INDEX "known_exploited_feed_id" ON "known_exploited" ("feed_id")
;
CREATE TABLE "package_source" ("id" INTEGER NOT NULL PRIMARY KEY, "ecosystem" VARCHAR(16) NOT NULL, "name" VARCHAR(255) NOT NULL, "source" VARCHAR(255) NOT NULL)
;
CREATE UNIQUE INDEX "package_source_name_ecosystem_source" ON "package_source" ("name", "ecosystem", "source")
;
CREATE INDEX "package_source_source_ecosystem" ON "package_source" ("source", "ecosystem")
;
