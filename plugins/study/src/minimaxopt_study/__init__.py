"""The tables and figures of Hamm and Mehra (2018), reproduced: a plugin of minimaxopt."""
