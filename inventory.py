"""Your hosts. One line a host; groups are lists of hosts and may have a group_data/<group>.py."""

hosts = [
    ("spark-01", {"ssh_hostname": "192.0.2.11", "ssh_user": "fleet"}),
    ("spark-02", {"ssh_hostname": "192.0.2.12", "ssh_user": "fleet"}),
]
