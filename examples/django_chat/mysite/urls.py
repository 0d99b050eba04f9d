"""The addresses of the pages. ``/ws/`` belongs to the gateway."""

from chat import views
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.generic import TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="chat/overview.html"), name="overview"),
    path("chat/", TemplateView.as_view(template_name="chat/broadcast.html"), name="broadcast"),
    path("userchat/", views.userchat, name="userchat"),
    path("userchat/send/", views.send, name="send"),
    path("login/", LoginView.as_view(template_name="chat/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
