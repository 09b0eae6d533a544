"""Patchherd: Ansible-native patch management server."""
