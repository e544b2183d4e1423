-- Run once, by an administrator, in the empty catalogue's database; Prefect's server has a database of its own.
create database waybill_prefect owner waybill;
create extension if not exists vector;
create extension if not exists pg_trgm;
