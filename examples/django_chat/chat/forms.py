"""The form for a message."""

from django import forms
from django.contrib.auth.models import Group, User


def _receivers():
    users = User.objects.filter(is_active=True).order_by("username")
    groups = Group.objects.order_by("name")
    return [
        ("all:", "everybody"),
        ("Users", [(f"user:{each.username}", each.username) for each in users]),
        ("Groups", [(f"group:{each.name}", each.name) for each in groups]),
    ]


class MessageForm(forms.Form):
    """A message for one user, for one group or for everybody."""

    to = forms.ChoiceField(choices=_receivers)
    text = forms.CharField(
        max_length=500,
        label="Message",
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "Say something"}),
    )
