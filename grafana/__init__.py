"""Dashboards for Grafana: declared here, written as JSON by `python -m grafana.generate`, and checked by tests/dashboards."""
