"""The Django app: put ``wsredis.django`` into INSTALLED_APPS."""
