"""The paths of the views."""

from __future__ import annotations

from django.urls import path

from tests.support.project import views

urlpatterns = [
    path("", views.whoami),
    path("cookies/", views.cookies),
    path("listen/", views.listen, name="listen"),
    path("login/", views.log_in),
    path("logout/", views.log_out),
    path("password/", views.change_password),
]
