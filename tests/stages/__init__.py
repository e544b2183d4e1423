"""Stages that tests add through WAYBILL_EXTRA_STAGES."""
