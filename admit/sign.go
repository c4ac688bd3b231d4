package admit
