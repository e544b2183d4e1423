"""The deployments that Waybill's own programs start runs of, as ``FLOW/NAME`` of ``prefect.yaml``; imports nothing."""

PROCESS_DEPLOYMENT = "process-documents/waybill"
EXPORT_DEPLOYMENT = "export-table/waybill"
WATCH_DEPLOYMENT = "watch-source/waybill"
