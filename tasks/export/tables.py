"""The tables of the catalogue that are exported by name, as SQL: without secrets, signed links and internal columns."""

from __future__ import annotations

TABLES = {
    "documents": "select * from waybill_export.documents order by document_id",
    "chunks": "select * from waybill_export.chunks order by document_id, ordinal",
    "facts": "select * from waybill_export.facts order by document_id, ordinal",
    "entities": "select * from waybill_export.entities order by document_id, ordinal",
    "artifacts": "select * from waybill_export.artifacts where state = 'available' order by created_at, file_id",
    "deliveries": "select * from waybill_export.deliveries order by created_at, delivery_id",
    "events": "select * from waybill_export.events order by recorded_at, event_id",
}
